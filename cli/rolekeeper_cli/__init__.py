"""The operators' command line. It decides and checks with the layer's own modules; nothing here is a second opinion."""
