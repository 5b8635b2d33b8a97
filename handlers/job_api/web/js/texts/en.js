/** English texts, sorted by key: PLACE.WHAT. */
export default {};
