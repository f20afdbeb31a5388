"""The saved model of several label columns: what it is made of (`model`), its folder (`bundle`), its answers (`predict`, `evaluate`)."""
