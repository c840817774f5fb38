"""Reviews: what a person does, and the gateway that has to bear it out."""
