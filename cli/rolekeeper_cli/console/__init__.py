"""The console: web pages on loopback for those who would rather look than type (`rolekeeper console`)."""
