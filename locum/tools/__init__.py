"""What a run can do besides talking: how a tool is offered to the model, invoked, and told about."""
