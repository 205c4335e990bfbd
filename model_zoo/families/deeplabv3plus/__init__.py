"""DeepLabV3+ on MobileNet v2: segmentation with an atrous pyramid and a decoder."""
