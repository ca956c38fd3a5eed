"""The job script and Slurm."""
