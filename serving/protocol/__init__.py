"""Types and limits that the model server and its clients share."""
