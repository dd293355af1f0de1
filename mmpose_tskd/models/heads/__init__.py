from .igp_gcn_head import IGPGCNHead
from .official_simcc_head import OfficialSimCCHead

__all__ = ['IGPGCNHead', 'OfficialSimCCHead']
