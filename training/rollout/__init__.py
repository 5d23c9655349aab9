"""Rollouts: the acting policy, one episode, the samplers that collect many."""
