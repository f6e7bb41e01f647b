"""What a base model costs: products to calculate, memory to hold. From config numbers alone, before anything is loaded; no torch."""
