"""All instances: listing, following and watching them."""
