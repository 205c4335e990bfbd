"""PoseNet (PersonLab): several people's keypoints, as a TF1 frozen graph."""
