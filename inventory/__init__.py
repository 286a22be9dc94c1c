"""The lab model and everything it implies; knows neither SSH nor libvirt."""
