"""The serial link to a motor controller: the only package that imports pyserial."""
