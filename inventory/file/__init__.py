"""Reading lab.yaml: the tree with its line numbers, the models, the checks, and all errors at once."""
