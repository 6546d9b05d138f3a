"""The pages, a module each: `ROUTES` says where they are. A page takes a view's document and draws it."""
