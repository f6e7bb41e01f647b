"""The Dataset tab's own routes: pictures and captions for the scripts in `assets/datasets`, which draw the room."""
