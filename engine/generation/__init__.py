"""Pictures: the prompt grammar, conditioning, samplers and the loop that makes them."""
