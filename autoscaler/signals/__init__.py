"""Sources of figures: each fills the `Signal` port."""
