"""How history travels: the HTTP service, without what it answers. Whoever has something to answer hands that in."""
