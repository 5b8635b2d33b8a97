/** German texts, sorted by key: PLACE.WHAT. */
export default {};
