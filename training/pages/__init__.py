"""The HTML pages of trainings and evaluations, of the parts in ``deploy.record.page``."""
