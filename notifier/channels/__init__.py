"""Ways to tell people: one module a kind. `base` says what a kind provides and how it is found."""
