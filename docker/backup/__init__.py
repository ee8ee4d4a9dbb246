"""The file that `make backup` writes and `make restore` reads; runs in the image `backup`."""
