"""What the command and the console show, as documents: nothing here prints, asks, or knows the command line."""
