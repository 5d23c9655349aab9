"""Studies: experiments on top of training. Nothing below imports them."""
