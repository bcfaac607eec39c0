"""The sample, public data sets to try the pipeline on, and a look at data before it is used."""
