"""The policies that ship with PyBullet, as policy files of this stack."""
