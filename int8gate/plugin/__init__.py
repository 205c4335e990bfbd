"""pytest's side alone: options, parametrization, fixtures, the gates as tests, their records."""
