"""Lightning callbacks: what a training run does besides fitting. One a file."""
