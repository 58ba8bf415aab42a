"""The matting network: its pictures, whether its attentions do any work, where its box is cut, the mean of two fits."""
