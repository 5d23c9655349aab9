"""Tasks, PPO, rollouts, export and evaluation: everything that makes a policy.

The top floor: imports the plant from ``sim`` and the observation pipeline from ``deploy``, so that
what is trained is exactly what is deployed.
"""
