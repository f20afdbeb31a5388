"""Foundation models. Names of models come in; pure functions from named weights and rows to features go out."""
