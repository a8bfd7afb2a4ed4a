"""Real servers for tests, in a network of their own: Orthanc, and DCMTK's programs."""
