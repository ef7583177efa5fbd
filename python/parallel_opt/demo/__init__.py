"""The demo: two real models, trained three ways, compared."""
