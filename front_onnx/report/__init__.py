"""What was done, for people: what to do next, a card beside a model, and a page that a browser shows."""
