from .page import data_link, html_page, plot, table
from .structures import structure_figure, structure_on_demand

__all__ = ["data_link", "html_page", "plot", "structure_figure", "structure_on_demand", "table"]
