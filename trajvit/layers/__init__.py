"""Small NNX modules that more than one tokenizer or encoder is made of."""
