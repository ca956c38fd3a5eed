"""TensorBoard event files as curves, tables, pictures and pages."""
