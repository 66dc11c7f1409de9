"""An application that refuses its configuration with an exit code of its own."""


class ConfigError(ValueError):
    exit_code = 2


raise ConfigError("SECRET_KEY: required in production")
