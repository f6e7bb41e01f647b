"""Makes the environment the project runs in. Standard library only, and readable by Python 3.8 (see `environment.py`)."""
