# The teacher of LSPET on 1,000 labels alone, for as many steps as on all of them in twelve epochs.
_base_ = ['../../simcc/lspet/simcc_hrnet-w32-small_12e_lspet-128x96.py']

max_epochs = 84
train_cfg = dict(max_epochs=max_epochs, val_interval=14)
param_scheduler = [
    dict(type='LinearLR', begin=0, end=200, start_factor=0.001, by_epoch=False),  # warm-up
    dict(type='CosineAnnealingLR', T_max=max_epochs, eta_min=4e-5, by_epoch=True, convert_to_iter_based=True),
]
train_dataloader = dict(dataset=dict(ann_file='few/labeled.json'))
