"""One module per format of crystals: from the text or bytes of one file to crystals."""
