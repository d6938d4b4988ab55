"""Visit to an accelerator: all that the project wants to know of a device, in minutes, most important first."""
