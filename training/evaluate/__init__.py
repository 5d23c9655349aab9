"""The evaluation protocol: a policy file on many drawn plants."""
