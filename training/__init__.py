"""From point-in-time data to a champion bundle: dataset, fit, calibration, explainer tables, tracking."""
