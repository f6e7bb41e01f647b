"""How files come into a dataset: uploads, archives, copies and the folders one may choose from."""
