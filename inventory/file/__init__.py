"""Reading lab.yaml: the tree with its lines, the models, the checks, and every mistake at once."""
