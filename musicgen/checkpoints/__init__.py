"""Files of a model: locate, download, unpack, convert, pack and read them."""
