"""Series and covariates: reading, schema, frame, preprocessing, features."""
