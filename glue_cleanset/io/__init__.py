"""FITS in, FITS and ECSV out; is the set registered?"""
